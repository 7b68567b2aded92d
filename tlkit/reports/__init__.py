"""Tables and plots of plans, runs, plugins and the cache. Nothing here computes results, prints or imports torch."""
