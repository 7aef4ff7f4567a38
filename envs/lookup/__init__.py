"""Facts of fixed tables: chains of look-ups, and codes that the pretraining corpus is often wrong about."""
