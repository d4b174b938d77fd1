"""Head profiles shipped with lcdoc, one YAML per model."""
