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
        flags = {
            "routing_file": settings.routing_file,
            "drift_baseline": settings.drift_baseline,
            "jobs_key": settings.jobs_key,
        }
        # The message begins with the file that it is about.
        name = next((name for name, path in flags.items() if path and str(error).startswith(str(path))), "routing_file")
        print(f"--{name.replace('_', '-')} (or FERRY_{name.upper()}): {error}", file=sys.stderr)
        raise SystemExit(2) from error
    run(service, settings)
