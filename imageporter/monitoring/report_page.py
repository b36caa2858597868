"""report.html: the page as a file, for those who have no hook."""

from loguru import logger

from imageporter.config.settings import Settings
from imageporter.model.report import Report
from imageporter.monitoring.page import View, render
from imageporter.store.database import directory_lock
from imageporter.store.image_states import ImageStates
from imageporter.system.atomic_files import replacing

FILE = "report.html"


def write(settings: Settings, report: Report) -> None:
    """Replace report.html in DATA_DIR. A queue run leaves it alone. An error is logged."""
    if settings.queue_only:
        return
    path = settings.data_dir / FILE
    states = ImageStates(settings.data_dir)
    try:
        with directory_lock(path.parent), replacing(path) as file:
            file.write(render(View(report, states.select(), states.count(), standalone=True)))
    except OSError as error:
        logger.error("{} cannot be written: {}", path, error.strerror)
