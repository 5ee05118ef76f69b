"""How many pods, cores and how much Redis a load needs: measured costs, the deployed manifests, and a formula."""
