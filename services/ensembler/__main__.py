"""`python -m services.ensembler`"""

import sys

from services.ensembler.recipe import RecipeError, read_recipe
from services.ensembler.service import EnsemblerService
from services.ensembler.settings import EnsemblerSettings
from serving.server import run
from serving.settings import load

if __name__ == "__main__":
    settings = load(EnsemblerSettings)
    try:
        recipe = read_recipe(settings.recipe)
    except RecipeError as error:
        print(f"--recipe (or FERRY_RECIPE): {error}", file=sys.stderr)
        raise SystemExit(2) from error
    run(EnsemblerService(settings, recipe), settings)
