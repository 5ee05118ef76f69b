"""`ferry bench recording`: what it costs callers that exposures are kept and labels taken."""
