"""`python -m single`"""

import sys

from services.ensembler.recipe import RecipeError, read_recipe
from serving.config_file import ConfigFileError
from serving.server import run
from serving.settings import load
from single.service import SingleService
from single.settings import SingleSettings

if __name__ == "__main__":
    settings = load(SingleSettings)
    try:
        service = SingleService(settings, read_recipe(settings.recipe))
    except RecipeError as error:
        print(f"--recipe (or FERRY_RECIPE): {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except ConfigFileError as error:
        print(f"--routing-file (or FERRY_ROUTING_FILE): {error}", file=sys.stderr)
        raise SystemExit(2) from error
    run(service, settings)
