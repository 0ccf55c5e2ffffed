"""Run the tests of a suite again with the rows of their database copied: `pytest --queries=grow`.

`process` starts the growing run in a separate process and reads what it found. There, `runner`
runs each test several times, `grower` copies rows at the first SELECT of a call (`calls`), and
`counts` compares how many statements each line sent. `row_sets` chooses the rows, `row_copies`
copies them, `pasted` writes the test to paste, and `grown_report` words it all.
"""
