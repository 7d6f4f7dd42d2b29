"""The gate: whatever a migration leaves behind is protected, by what the database itself says.

A table passes if its rows belong to tenants by every key, if the database keeps them apart, and if
nobody may do more than he must. That the gate sees each fault is tested as well.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.catalogue import (
    Database,
    Grant,
    Policy,
    Roles,
    Schema,
    Table,
    read_postgresql,
    read_sqlite,
)
from tests.servers import Cluster

# The tables that belong to no tenant. Add one only if no tenant's data can ever be in it.
GLOBAL = {"alembic_version"}


ROWS = {"SELECT", "INSERT", "UPDATE", "DELETE"}

# What the application's role and the system's may do to a table; nothing to a partition.
RIGHTS: dict[str, tuple[set[str], set[str]]] = {
    "tenants": ({"SELECT"}, {"SELECT", "INSERT", "UPDATE"}),
    "audit_log": (set(), {"SELECT", "INSERT"}),
}

# The row's tenant is the one that the transaction has named: as PostgreSQL writes it.
OWN = re.compile(
    r"\(\(tenant_id\)::text = (\( SELECT )?"
    r"NULLIF\(current_setting\('app\.tenant_id'::text, true\), ''::text\)( AS \"nullif\"\))?\)"
)


def scoped(schema: Schema) -> Iterator[Table]:
    return (table for table in schema.tables if table.name not in GLOBAL)


def faults(table: Table) -> Iterator[str]:
    """Yield what is wrong with a table on any database, in a sentence each."""
    if table.kind != "table":
        yield f"{table.name} is a {table.kind}: nothing protects its rows"
    elif "tenant_id" not in table.nullable:
        yield f"{table.name} is neither scoped nor global: it has no tenant_id"
    else:
        yield from faults_of_keys(table)


def faults_of_keys(table: Table) -> Iterator[str]:
    if table.nullable["tenant_id"]:
        yield f"{table.name} may have rows without a tenant"
    if not any(key.is_primary for key in table.keys):
        yield f"{table.name} has no primary key"
    for key in table.keys:
        if key.columns[0] != "tenant_id":
            yield f"the key {key.name} of {table.name} does not begin with tenant_id"
    for link in table.foreign_keys:
        if not link.columns[0] == link.referred_columns[0] == "tenant_id":
            yield f"the key {link.name} of {table.name} does not begin with tenant_id on both sides"


def faults_on_sqlite(schema: Schema) -> list[str]:
    """Return the faults of a schema whose rows are kept apart by triggers."""
    return [
        fault
        for table in scoped(schema)
        for each in (faults(table), faults_of_triggers(table))
        for fault in each
    ]


def faults_of_triggers(table: Table) -> Iterator[str]:
    for verb, rows in (("INSERT", ("NEW",)), ("UPDATE", ("OLD", "NEW")), ("DELETE", ("OLD",))):
        form = re.compile(
            rf'CREATE TRIGGER \S+ BEFORE {verb} ON "?{table.name}"? WHEN (.+) '
            r"BEGIN SELECT RAISE\(ABORT, '[^']+'\); END"
        )
        conditions = [found[1] for each in table.triggers if (found := form.fullmatch(each))]
        refused = f"NOT ({' AND '.join(f'may_write({row}.tenant_id)' for row in rows)})"
        if table.name in RIGHTS:  # no tenant writes there, and nobody changes what was recorded
            is_record = table.name == "audit_log" and verb != "INSERT"
            refused = "TRUE" if is_record else "NOT may_write(NULL)"
        if not any(f"{each} OR ".startswith(f"{refused} OR ") for each in conditions):
            yield f"no trigger holds {verb} on {table.name} to its tenant"


def faults_on_postgresql(schema: Schema, roles: Roles) -> list[str]:
    """Return the faults of a schema whose rows are kept apart by policies."""
    tables = [
        fault
        for table in scoped(schema)
        for each in (faults(table), faults_of_policies(table, roles))
        for fault in each
    ]
    return tables + sorted(faults_of_grants(schema, roles))


def faults_of_policies(table: Table, roles: Roles) -> Iterator[str]:
    if table.owner != roles.owner:
        yield f"{table.name} belongs to {table.owner}"
    if table.kind != "table":
        return
    if not table.is_enabled:
        yield f"row security of {table.name} is not enabled"
    if not table.is_forced:
        yield f"row security of {table.name} is not forced on its owner"
    for policy in table.policies:
        if policy.roles not in ((roles.app,), (roles.system,)):
            yield f"the policy {policy.name} of {table.name} is for {', '.join(policy.roles)}"
    for role, is_right in ((roles.app, shows_own_rows), (roles.system, shows_every_row)):
        # One policy that permits: a second one would permit more, and never less.
        found = [each for each in table.policies if each.is_permissive and role in each.roles]
        if len(found) != 1 or not is_right(found[0]):
            yield f"the policies of {table.name} do not hold {role} to what it may see and write"


def shows_own_rows(policy: Policy) -> bool:
    using, check = policy.using or "", policy.check or ""
    writes_own_rows = check == using or check.startswith(f"({using} AND ")
    return policy.command == "ALL" and bool(OWN.fullmatch(using)) and writes_own_rows


def shows_every_row(policy: Policy) -> bool:
    return (policy.command, policy.using, policy.check) == ("ALL", "true", "true")


def faults_of_grants(schema: Schema, roles: Roles) -> Iterator[str]:
    """Compare what has been granted with exactly what must be."""
    due = {Grant(role, "USAGE", "schema public") for role in (roles.app, roles.system)}
    for table in scoped(schema):
        if not table.is_partition:
            for role, rights in zip(roles, RIGHTS.get(table.name, (ROWS, ROWS)), strict=False):
                due |= {Grant(role, right, f"table {table.name}") for right in rights}
    # Every new database has it; it lets nobody at anything that is in the schema.
    harmless = {Grant("PUBLIC", "USAGE", "schema public")}
    for each in schema.grants - due - harmless:
        yield f"{each.role} has {each.right} on {each.to}{', to pass on' * each.is_grantable}"
    for each in due - schema.grants:
        yield f"{each.role} lacks {each.right} on {each.to}"


def faults_of(database: Database, change: str = "") -> list[str]:
    """Return the faults that there are, or would be after a change by the owner."""
    return faults_on_postgresql(database.look(read_postgresql, change), database.roles)


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Database:
    return Database(cluster)


@pytest.fixture(scope="module")
def partitioned(cluster: Cluster) -> Database:
    return Database(cluster, partitions=2)


def test_every_table_of_postgresql_is_protected(database: Database) -> None:
    assert faults_of(database) == []


def test_every_partition_is_protected(partitioned: Database) -> None:
    assert faults_of(partitioned) == []


COLUMNS = "tenant_id varchar(63), id uuid, other varchar(63)"
KEYED = f"{COLUMNS}, PRIMARY KEY (tenant_id, id)"

# What a migration may leave behind, and what the gate says of it.
FAULTS = {
    "CREATE TABLE notes (id uuid PRIMARY KEY)": (
        "notes is neither scoped nor global: it has no tenant_id"
    ),
    "CREATE SCHEMA more; CREATE TABLE more.notes (id uuid PRIMARY KEY)": (
        "more.notes is neither scoped nor global: it has no tenant_id"
    ),
    "CREATE VIEW notes AS SELECT * FROM projects": ("notes is a view: nothing protects its rows"),
    "CREATE MATERIALIZED VIEW notes AS SELECT * FROM projects": (
        "notes is a materialized view: nothing protects its rows"
    ),
    f"CREATE TABLE notes ({COLUMNS}, UNIQUE (tenant_id, id))": (
        "notes may have rows without a tenant"
    ),
    f"CREATE TABLE notes ({COLUMNS}, UNIQUE (tenant_id, id), CHECK (tenant_id <> ''))": (
        "notes has no primary key"
    ),
    f"CREATE TABLE notes ({COLUMNS}, PRIMARY KEY (id, tenant_id))": (
        "the key notes_pkey of notes does not begin with tenant_id"
    ),
    "ALTER TABLE tasks ADD CONSTRAINT one UNIQUE (id)": (
        "the key one of tasks does not begin with tenant_id"
    ),
    "CREATE UNIQUE INDEX one ON tasks (title)": (
        "the key one of tasks does not begin with tenant_id"
    ),
    "CREATE UNIQUE INDEX one ON tasks (title) WHERE done": (
        "the key one of tasks does not begin with tenant_id"
    ),
    "CREATE UNIQUE INDEX one ON tasks (lower(tenant_id), title)": (
        "the key one of tasks does not begin with tenant_id"
    ),
    "CREATE UNIQUE INDEX one ON tasks (title) INCLUDE (tenant_id)": (
        "the key one of tasks does not begin with tenant_id"
    ),
    "ALTER TABLE tasks ADD CONSTRAINT one EXCLUDE USING hash (title WITH =)": (
        "the key one of tasks does not begin with tenant_id"
    ),
    f"CREATE TABLE notes ({KEYED}, CONSTRAINT up FOREIGN KEY (other) REFERENCES tenants)": (
        "the key up of notes does not begin with tenant_id on both sides"
    ),
    f"CREATE TABLE notes ({KEYED}, CONSTRAINT up FOREIGN KEY (id, other)"
    " REFERENCES projects (id, tenant_id))": (
        "the key up of notes does not begin with tenant_id on both sides"
    ),
    "RESET ROLE; ALTER TABLE projects OWNER TO {app}": "projects belongs to {app}",
    "ALTER TABLE projects DISABLE ROW LEVEL SECURITY": ("row security of projects is not enabled"),
    "ALTER TABLE projects NO FORCE ROW LEVEL SECURITY": (
        "row security of projects is not forced on its owner"
    ),
    "CREATE POLICY more ON projects USING (true)": "the policy more of projects is for PUBLIC",
    "CREATE POLICY more ON projects TO {owner} USING (true)": (
        "the policy more of projects is for {owner}"
    ),
    "DROP POLICY own_tenant ON projects": (
        "the policies of projects do not hold {app} to what it may see and write"
    ),
    "CREATE POLICY more ON projects FOR SELECT TO {app} USING (true)": (
        "the policies of projects do not hold {app} to what it may see and write"
    ),
    "ALTER POLICY own_tenant ON projects USING (true)": (
        "the policies of projects do not hold {app} to what it may see and write"
    ),
    "ALTER POLICY own_tenant ON projects WITH CHECK (true)": (
        "the policies of projects do not hold {app} to what it may see and write"
    ),
    "DROP POLICY own_tenant ON projects; CREATE POLICY own_tenant ON projects TO {app}"
    " USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))": (
        "the policies of projects do not hold {app} to what it may see and write"
    ),
    "DROP POLICY own_tenant ON projects; CREATE POLICY own_tenant ON projects FOR SELECT TO {app}"
    " USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))": (
        "the policies of projects do not hold {app} to what it may see and write"
    ),
    "DROP POLICY every_tenant ON audit_log": (
        "the policies of audit_log do not hold {system} to what it may see and write"
    ),
    "GRANT TRUNCATE ON projects TO {app}": "{app} has TRUNCATE on table projects",
    "GRANT SELECT ON projects TO {app} WITH GRANT OPTION": (
        "{app} has SELECT on table projects, to pass on"
    ),
    "GRANT SELECT ON audit_log TO {app}": "{app} has SELECT on table audit_log",
    "GRANT UPDATE ON audit_log TO {system}": "{system} has UPDATE on table audit_log",
    "GRANT DELETE ON tenants TO {system}": "{system} has DELETE on table tenants",
    "GRANT INSERT ON tenants TO {app}": "{app} has INSERT on table tenants",
    "GRANT SELECT ON alembic_version TO {system}": "{system} has SELECT on table alembic_version",
    "GRANT SELECT ON projects TO PUBLIC": "PUBLIC has SELECT on table projects",
    "GRANT SELECT (action) ON audit_log TO {app}": "{app} has SELECT on column audit_log.action",
    "GRANT CREATE ON SCHEMA public TO {app}": "{app} has CREATE on schema public",
    "CREATE SEQUENCE numbers; GRANT USAGE ON numbers TO {app}": (
        "{app} has USAGE on sequence numbers"
    ),
    "CREATE FUNCTION everything() RETURNS SETOF projects LANGUAGE sql SECURITY DEFINER"
    " AS 'SELECT * FROM projects'": "PUBLIC has EXECUTE on function everything",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {app}": (
        "{app} has SELECT on what is created later"
    ),
    "REVOKE DELETE ON projects FROM {app}": "{app} lacks DELETE on table projects",
    "REVOKE USAGE ON SCHEMA public FROM {system}": "{system} lacks USAGE on schema public",
}


@pytest.mark.parametrize("change", FAULTS)
def test_the_gate_sees_what_is_wrong_on_postgresql(database: Database, change: str) -> None:
    assert database.written(FAULTS[change]) in faults_of(database, change)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("GRANT SELECT ON projects_0 TO {app}", "{app} has SELECT on table projects_0"),
        (
            "ALTER TABLE projects_1 NO FORCE ROW LEVEL SECURITY",
            "row security of projects_1 is not forced on its owner",
        ),
        (
            "DROP POLICY own_tenant ON tasks_0",
            "the policies of tasks_0 do not hold {app} to what it may see and write",
        ),
        (
            "CREATE UNIQUE INDEX one ON tasks_1 (title)",
            "the key one of tasks_1 does not begin with tenant_id",
        ),
    ],
)
def test_the_gate_sees_what_is_wrong_with_a_partition(
    partitioned: Database, change: str, fault: str
) -> None:
    assert partitioned.written(fault) in faults_of(partitioned, change)


@pytest.fixture
def file(sqlite_template: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A migrated database of SQLite, to look at and to change."""
    copy = tmp_path / "app.db"
    copy.write_bytes(sqlite_template.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        yield connection


def test_every_table_of_sqlite_is_protected(file: sqlite3.Connection) -> None:
    assert faults_on_sqlite(read_sqlite(file)) == []


TRIGGER = "BEGIN SELECT RAISE(ABORT, 'no'); END"

FAULTS_ON_SQLITE = {
    "CREATE TABLE notes (id uuid PRIMARY KEY)": (
        "notes is neither scoped nor global: it has no tenant_id"
    ),
    "CREATE VIEW notes AS SELECT * FROM projects": "notes is a view: nothing protects its rows",
    "CREATE VIRTUAL TABLE notes USING fts5 (tenant_id, text)": (
        "notes is a virtual table: nothing protects its rows"
    ),
    f"CREATE TABLE notes ({KEYED})": "notes may have rows without a tenant",
    f"CREATE TABLE notes ({COLUMNS})": "notes has no primary key",
    "CREATE TABLE notes (tenant_id varchar(63) NOT NULL, id INTEGER PRIMARY KEY)": (
        "the key rowid of notes does not begin with tenant_id"
    ),
    f"CREATE TABLE notes ({COLUMNS}, PRIMARY KEY (id, tenant_id))": (
        "the key sqlite_autoindex_notes_1 of notes does not begin with tenant_id"
    ),
    "CREATE UNIQUE INDEX one ON tasks (title)": (
        "the key one of tasks does not begin with tenant_id"
    ),
    "CREATE UNIQUE INDEX one ON tasks (title) WHERE done": (
        "the key one of tasks does not begin with tenant_id"
    ),
    "CREATE UNIQUE INDEX one ON tasks (lower(tenant_id), title)": (
        "the key one of tasks does not begin with tenant_id"
    ),
    f"CREATE TABLE notes ({KEYED}, FOREIGN KEY (other) REFERENCES tenants (tenant_id))": (
        "the key to tenants of notes does not begin with tenant_id on both sides"
    ),
    "DROP TRIGGER projects_tenant_insert": "no trigger holds INSERT on projects to its tenant",
    "DROP TRIGGER projects_tenant_delete; CREATE TRIGGER some BEFORE DELETE ON projects"
    f" WHEN OLD.name = 'x' {TRIGGER}": "no trigger holds DELETE on projects to its tenant",
    "DROP TRIGGER projects_tenant_update; CREATE TRIGGER some BEFORE UPDATE OF name ON projects"
    " WHEN NOT (may_write(OLD.tenant_id) AND may_write(NEW.tenant_id))"
    f" {TRIGGER}": "no trigger holds UPDATE on projects to its tenant",
    "DROP TRIGGER projects_tenant_update; CREATE TRIGGER some BEFORE UPDATE ON projects"
    f" WHEN NOT (may_write(OLD.tenant_id)) {TRIGGER}": (
        "no trigger holds UPDATE on projects to its tenant"
    ),
    "DROP TRIGGER audit_log_tenant_delete; CREATE TRIGGER some BEFORE DELETE ON audit_log"
    f" WHEN NOT may_write(NULL) {TRIGGER}": "no trigger holds DELETE on audit_log to its tenant",
}


@pytest.mark.parametrize("change", FAULTS_ON_SQLITE)
def test_the_gate_sees_what_is_wrong_on_sqlite(file: sqlite3.Connection, change: str) -> None:
    file.executescript(change)
    assert FAULTS_ON_SQLITE[change] in faults_on_sqlite(read_sqlite(file))
