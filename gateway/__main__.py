"""`python -m gateway`"""

from gateway.service import GatewayService
from gateway.settings import GatewaySettings
from serving.server import run
from serving.settings import load

if __name__ == "__main__":
    settings = load(GatewaySettings)
    run(GatewayService(settings), settings)
