"""The batched exporter, in a folder that another checkout of the audit trail can copy as one unit.

Besides SQLAlchemy, orjson and rfc8785 it needs three modules of the checkout: `contracts.enums`,
`contracts.errors` and `core.landscape.schema`. A test checks that list. Start with
`exporter.RunExporter`, which takes any object whose `engine` is a SQLAlchemy engine.
"""
