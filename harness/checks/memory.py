"""Judge memory (placeholder)."""
def judge_memory(*a): raise NotImplementedError
