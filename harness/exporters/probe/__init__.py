"""What runs in an exporter's own process: export, observe, time, and report the process's state.

These modules import the standard library and SQLAlchemy only, so that they run under the
interpreter of another environment. `observation` also uses querygrowth, which `host` loads from the
harness's folder when it is first needed. The same functions serve exporters of the harness's
process.
"""
