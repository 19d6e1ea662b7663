"""How one commit is made of what queued up, how each waiter is answered, and what became of an answer that got lost.

For stores of any kind: the statements and scripts are each back end's own (`sqlite/writer.py` and its like).
"""
