"""Everything that speaks to Ray: joining or starting a cluster, leasing units to actors, running trials."""
