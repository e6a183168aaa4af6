"""Text -> terms, by language; see :class:`Analyzer`."""

from .analyzer import Analyzer
from .lexicon import Lexicon

__all__ = ["Analyzer", "Lexicon"]
