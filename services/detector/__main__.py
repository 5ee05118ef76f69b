"""`python -m services.detector`"""

from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from serving.server import run
from serving.settings import load

if __name__ == "__main__":
    settings = load(DetectorSettings)
    run(DetectorService(settings), settings)
