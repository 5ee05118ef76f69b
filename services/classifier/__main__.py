"""`python -m services.classifier`"""

from services.classifier.service import ClassifierService
from services.classifier.settings import ClassifierSettings
from serving.cpu import take_share
from serving.server import run
from serving.settings import load

if __name__ == "__main__":
    settings = load(ClassifierSettings)
    take_share(settings.cpus)
    run(ClassifierService(settings), settings)
