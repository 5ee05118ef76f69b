"""Pictures that may be what a replica was lost by: looked at in a process of their own, one after the other."""
