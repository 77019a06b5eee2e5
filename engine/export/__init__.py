"""Exports of shards for other tools' trainers, and imports of other tools' images as shards."""
