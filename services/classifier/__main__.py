"""`python -m services.classifier`"""

from services.classifier.service import ClassifierService
from services.classifier.settings import ClassifierSettings
from serving.server import run
from serving.settings import load

if __name__ == "__main__":
    settings = load(ClassifierSettings)
    run(ClassifierService(settings), settings)
