"""`python -m single`"""

import sys

from services.ensembler.recipe import RecipeError, read_recipe
from serving.config_file import ConfigFileError
from serving.cpu import take_share
from serving.server import run
from serving.settings import load
from single.service import SingleService
from single.settings import SingleSettings

if __name__ == "__main__":
    settings = load(SingleSettings)
    take_share(settings.cpus)
    try:
        service = SingleService(settings, read_recipe(settings.recipe))
    except RecipeError as error:
        print(f"--recipe (or FERRY_RECIPE): {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except ConfigFileError as error:
        name = settings.of_file(error)
        print(f"--{name.replace('_', '-')} (or FERRY_{name.upper()}): {error}", file=sys.stderr)
        raise SystemExit(2) from error
    run(service, settings)
