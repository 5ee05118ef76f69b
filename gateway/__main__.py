"""`python -m gateway`"""

import sys

from gateway.service import GatewayService
from gateway.settings import GatewaySettings
from serving.config_file import ConfigFileError
from serving.server import run
from serving.settings import load

if __name__ == "__main__":
    settings = load(GatewaySettings)
    try:
        service = GatewayService(settings)
    except ConfigFileError as error:
        name = settings.of_file(error)
        print(f"--{name.replace('_', '-')} (or FERRY_{name.upper()}): {error}", file=sys.stderr)
        raise SystemExit(2) from error
    run(service, settings)
