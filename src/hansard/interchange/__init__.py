"""Import and export of logs: from the formats of others, and to and from our own. Knows the face, no engine."""

from hansard.interchange.exporting import export_log as export_log
from hansard.interchange.formats import FORMATS as FORMATS
from hansard.interchange.importing import ImportReport as ImportReport
from hansard.interchange.importing import import_log as import_log
from hansard.interchange.mapping import Mapping as Mapping
