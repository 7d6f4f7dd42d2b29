"""{{ cookiecutter.project_slug }}: a multi-tenant service."""
