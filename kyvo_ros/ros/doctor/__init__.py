"""`kyvo doctor`: what keeps scenes from coming, and what to type. The checks are the node's own, run without a node."""
