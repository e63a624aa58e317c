"""The protocols of other evaluation kits: HEAR, EVAR, X-ARES, MARBLE, SUPERB."""
