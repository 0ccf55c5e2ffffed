"""How counts grow with the data: runs at rising scales, their forms, and the judgement."""
