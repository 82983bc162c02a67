RULES=()
def siblings(g): return ()
