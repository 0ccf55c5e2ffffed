"""Watch a whole test suite, with nothing written for it: `pytest --queries`.

`plugin` holds the hooks and tells the order of events. `patterns` finds the patterns in what one
test sent, `findings` merges them by place, `settings` reads `[tool.querygrowth]`, `accepted` leaves
out what a project has accepted, `report` words the rest, and `records` keeps what each test sent.
"""
