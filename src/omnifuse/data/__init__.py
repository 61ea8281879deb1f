"""From raw rows to arrays: tables, media, schema, findings, preprocessors, augmentation, splits. No torch here."""
