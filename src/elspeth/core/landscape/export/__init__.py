"""The batched exporter, as one unit: another checkout of the audit trail copies this folder whole.

Besides SQLAlchemy, orjson and rfc8785 it needs three modules of the checkout: `contracts.enums`,
`contracts.errors` and `core.landscape.schema`. A test holds that list. `exporter.RunExporter` is
the way in; it takes any object whose `engine` is a SQLAlchemy engine.
"""
