"""An audited pipeline of another team."""

__version__ = "0.1.0"
