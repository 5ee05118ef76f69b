"""`python -m services.detector`"""

from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from serving.cpu import take_share
from serving.server import run
from serving.settings import load

if __name__ == "__main__":
    settings = load(DetectorSettings)
    take_share(settings.cpus)
    run(DetectorService(settings), settings)
