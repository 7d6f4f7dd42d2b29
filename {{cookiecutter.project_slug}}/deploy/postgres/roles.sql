-- The three roles of the service and its database. psql runs this once, as a superuser.
--
-- Compose runs it as it stands. Elsewhere, run it with passwords of your own: the service refuses
-- this one where ENVIRONMENT is production.

-- Owns the tables and migrates them (MIGRATION_DATABASE_URL).
CREATE ROLE app_owner LOGIN PASSWORD 'development-only'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- Serves requests; row-level security shows it one tenant at a time (DATABASE_URL).
CREATE ROLE app LOGIN PASSWORD 'development-only'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- Works across tenants by policies of its own, which the migrations make (SYSTEM_DATABASE_URL).
CREATE ROLE app_system LOGIN PASSWORD 'development-only'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

CREATE DATABASE app OWNER app_owner;
\connect app

-- By default anybody may come in; here only these two, and the migrations grant them the tables.
REVOKE ALL ON DATABASE app FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE app TO app, app_system;
