"""Small programs on a real SQLite database: bad ones that must fail, good ones that must pass."""

from scenarios import concurrent, good, loops, paging, past_the_count, vacuous

BAD = (*loops.BAD, *past_the_count.BAD, *paging.BAD, *vacuous.BAD, *concurrent.BAD)
GOOD = (*good.GOOD, *paging.GOOD, *concurrent.GOOD)
