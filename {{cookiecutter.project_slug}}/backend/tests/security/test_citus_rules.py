"""What Citus asks of tables that it distributes, held against the schema that migrations make.

Each rule is one that Citus checks or documents; its source is a function of github.com/citusdata/
citus, in src/backend/distributed, or a thread there. The tables would be distributed by hash of
`tenant_id`. What is no matter of the schema stays out: how queries may look, and that foreign keys
ask for `citus.shard_replication_factor = 1`.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.catalogue import Database
from tests.servers import Cluster

# The tables with a tenant, and that column of each.
DISTRIBUTED = """
    WITH distributed AS (
        SELECT pg_class.*, pg_class.oid::regclass AS name, attnum, atttypid, atttypmod,
            attcollation, attgenerated, attnotnull
        FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
            AND nspname NOT IN ('pg_catalog', 'information_schema')
        JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
        WHERE relkind IN ('r', 'p', 'f')
    ), link AS (
        SELECT pg_constraint.*, conrelid::regclass AS name,
            array_position(conkey, referring.attnum) AS referring,
            array_position(confkey, referred.attnum) AS referred,
            referring.oid IS NOT NULL AS is_from_distributed,
            referred.oid IS NOT NULL AS is_to_distributed
        FROM pg_constraint
        LEFT JOIN distributed AS referring ON referring.oid = conrelid
        LEFT JOIN distributed AS referred ON referred.oid = confrelid
        WHERE contype = 'f'
    ), filled AS (
        SELECT distributed.name, pg_attribute.attname AS column, pg_attribute.atttypid AS type,
            pg_attribute.attnum AS position, distributed.oid AS relation, refobjid AS sequence
        FROM distributed
        JOIN pg_attrdef ON adrelid = distributed.oid
        JOIN pg_attribute ON attrelid = adrelid AND pg_attribute.attnum = adnum
        JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid
        JOIN pg_class AS sequences ON sequences.oid = refobjid AND sequences.relkind = 'S'
    )
"""


@dataclass(frozen=True)
class Rule:
    """What must hold, where Citus says so, what offends it, and an example that does."""

    source: str
    offenders: str  # a query for a sentence each
    example: str
    said: str


KEYED = "tenant_id varchar(63), id uuid, PRIMARY KEY (tenant_id, id)"

RULES = {
    "a table is a plain one": Rule(
        source="utils/citus_ruleutils.c: EnsureRelationKindSupported;"
        " commands/create_distributed_table.c: EnsureCitusTableCanBeCreated",
        offenders="""
            SELECT name || ' inherits, or is inherited from' FROM distributed
            WHERE EXISTS (
                SELECT FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
                WHERE distributed.oid IN (inhrelid, inhparent) AND NOT child.relispartition
            )
            UNION SELECT name || ' is a foreign table' FROM distributed WHERE relkind = 'f'
        """,
        example="CREATE TABLE more () INHERITS (projects)",
        said="projects inherits, or is inherited from",
    ),
    "a table is not temporary": Rule(
        source="commands/create_distributed_table.c: ErrorIfTemporaryTable",
        offenders="SELECT name || ' is temporary' FROM distributed WHERE relpersistence = 't'",
        example=f"CREATE TEMPORARY TABLE more ({KEYED})",
        said="more is temporary",
    ),
    "a partition has no partitions": Rule(
        source="commands/create_distributed_table.c: EnsureRelationCanBeDistributed,"
        " 'distributing multi-level partitioned tables is not supported'",
        offenders="SELECT name || ' has partitions and is one' FROM distributed"
        " WHERE relkind = 'p' AND relispartition",
        example=f"CREATE TABLE more ({KEYED}) PARTITION BY HASH (tenant_id);"
        " CREATE TABLE more_0 PARTITION OF more FOR VALUES WITH (MODULUS 2, REMAINDER 0)"
        " PARTITION BY HASH (tenant_id)",
        said="more_0 has partitions and is one",
    ),
    "a table has no trigger": Rule(
        source="commands/create_distributed_table.c: EnsureRelationHasNoTriggers",
        offenders="SELECT name || ' has the trigger ' || tgname FROM distributed"
        " JOIN pg_trigger ON tgrelid = distributed.oid AND NOT tgisinternal",
        example="CREATE TRIGGER extra BEFORE UPDATE ON projects FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        said="projects has the trigger extra",
    ),
    "a table has no rule": Rule(
        source="issue 4084, 'When using rules on citus tables, assertion crash or error is"
        " possible', and 5492: rules are lost when a table is altered",
        offenders="SELECT name || ' has the rule ' || rulename FROM distributed"
        " JOIN pg_rewrite ON ev_class = distributed.oid",
        example="CREATE RULE extra AS ON DELETE TO projects DO INSTEAD NOTHING",
        said="projects has the rule extra",
    ),
    "no policy holds a sub-query": Rule(
        source="commands/policy.c: ErrorIfUnsupportedPolicyExpr,"
        " 'Subqueries are not supported in policies on distributed tables'",
        offenders="SELECT polname || ' of ' || name || ' asks another table' FROM distributed"
        " JOIN pg_policy ON polrelid = distributed.oid"
        " WHERE concat(polqual, polwithcheck) LIKE '%{SUBLINK %'",
        example="CREATE POLICY extra ON projects TO {app} USING (EXISTS (SELECT FROM tenants))",
        said="extra of projects asks another table",
    ),
    "statistics are of columns": Rule(
        source="issue 8590, 'CREATE STATISTICS on expressions doesn't work with distributed tables'",
        offenders="SELECT name || ' has statistics of an expression: ' || stxname FROM distributed"
        " JOIN pg_statistic_ext ON stxrelid = distributed.oid WHERE stxexprs IS NOT NULL",
        example="CREATE STATISTICS extra ON lower(name), version FROM projects",
        said="projects has statistics of an expression: extra",
    ),
    "a table has a replica identity": Rule(
        source="commands/create_distributed_table.c: WarnIfTableHaveNoReplicaIdentity;"
        " shards that are moved while they are written to need one",
        offenders="""
            SELECT name || ' has no replica identity' FROM distributed
            WHERE NOT EXISTS (
                SELECT FROM pg_index
                WHERE indrelid = distributed.oid AND (indisprimary OR indisreplident)
            ) AND relreplident <> 'f' OR relreplident = 'n'
        """,
        example="CREATE TABLE more (tenant_id varchar(63) NOT NULL)",
        said="more has no replica identity",
    ),
    # The distribution column
    "the tenant is never null": Rule(
        source="planner/multi_router_planner.c,"
        " 'cannot perform an INSERT with NULL in the partition column'",
        offenders="SELECT name || ' may lack a tenant' FROM distributed WHERE NOT attnotnull",
        example="CREATE TABLE more (tenant_id varchar(63))",
        said="more may lack a tenant",
    ),
    "the tenant is not computed": Rule(
        source="commands/create_distributed_table.c: DistributionColumnIsGeneratedCheck",
        offenders="SELECT name || ' computes its tenant' FROM distributed WHERE attgenerated <> ''",
        example="CREATE TABLE more (id uuid, tenant_id text GENERATED ALWAYS AS ('acme') STORED)",
        said="more computes its tenant",
    ),
    "the tenant has the same type and collation everywhere": Rule(
        source="commands/create_distributed_table.c: ColocationIdForNewTable;"
        " only tables of one co-location group can be joined and linked",
        offenders="""
            SELECT distributed.name || ' has a tenant of another type or collation'
            FROM distributed JOIN distributed AS tenants ON tenants.oid = 'tenants'::regclass
            WHERE (distributed.atttypid, distributed.attcollation)
                <> (tenants.atttypid, tenants.attcollation)
        """,
        example="CREATE TABLE more (tenant_id text, id uuid, PRIMARY KEY (tenant_id, id))",
        said="more has a tenant of another type or collation",
    ),
    "the tenant's type can be hashed": Rule(
        source="commands/create_distributed_table.c: SupportFunctionForColumn",
        offenders="""
            SELECT name || ' has a tenant that no hash is defined for' FROM distributed
            WHERE NOT EXISTS (
                SELECT FROM pg_opclass
                JOIN pg_am ON pg_am.oid = opcmethod AND amname = 'hash' AND opcdefault
                LEFT JOIN pg_cast ON castsource = atttypid AND casttarget = opcintype
                WHERE opcintype = atttypid OR castmethod = 'b'
            )
        """,
        example="CREATE TABLE more (tenant_id point)",
        said="more has a tenant that no hash is defined for",
    ),
    "the tenant's collation is deterministic": Rule(
        source="commands/create_distributed_table.c: EnsureRelationCanBeDistributed,"
        " 'Hash distributed partition columns may not use a non deterministic collation'",
        offenders="SELECT name || ' may take two names for one tenant' FROM distributed"
        " JOIN pg_collation ON pg_collation.oid = attcollation AND NOT collisdeterministic",
        example="CREATE COLLATION loose (provider = icu, locale = 'und', deterministic = false);"
        " CREATE TABLE more (tenant_id varchar(63) COLLATE loose)",
        said="more may take two names for one tenant",
    ),
    "the tenant is no number of negative scale": Rule(
        source="commands/create_distributed_table.c:"
        " DistributionColumnUsesNumericColumnNegativeScale",
        offenders="SELECT name || ' has a tenant that is rounded' FROM distributed"
        " WHERE format_type(atttypid, atttypmod) LIKE 'numeric(%,-%'",
        example="CREATE TABLE more (tenant_id numeric(3, -2))",
        said="more has a tenant that is rounded",
    ),
    # Keys
    "what is unique contains the tenant": Rule(
        source="commands/table.c: ErrorIfUnsupportedConstraint;"
        " commands/index.c: ErrorIfUnsupportedIndexStmt",
        offenders="SELECT indexrelid::regclass || ' is unique without the tenant' FROM distributed"
        " JOIN pg_index ON indrelid = distributed.oid AND indisunique"
        " WHERE attnum <> ALL (indkey[:indnkeyatts - 1])",
        example="CREATE UNIQUE INDEX extra ON projects (name) WHERE version = 1",
        said="extra is unique without the tenant",
    ),
    "an exclusion compares the tenant for equality": Rule(
        source="commands/table.c: ErrorIfUnsupportedConstraint,"
        " '(with an equality operator if EXCLUDE)'",
        offenders="""
            SELECT conname || ' excludes without the tenant' FROM distributed
            JOIN pg_constraint ON conrelid = distributed.oid AND contype = 'x'
            WHERE NOT EXISTS (
                SELECT FROM unnest(conkey, conexclop) AS part (key, operator)
                JOIN pg_amop ON amopopr = operator AND amopstrategy = 3
                JOIN pg_am ON pg_am.oid = amopmethod AND amname = 'btree'
                WHERE key = attnum
            )
        """,
        example="CREATE TABLE more (tenant_id int4range,"
        " CONSTRAINT extra EXCLUDE USING gist (tenant_id WITH &&))",
        said="extra excludes without the tenant",
    ),
    "a foreign key of a distributed table refers to one": Rule(
        source="commands/foreign_constraint.c: ErrorIfUnsupportedForeignConstraintExists,"
        " 'must be a distributed table or a reference table'",
        offenders="SELECT conname || ' leaves the distributed tables' FROM link"
        " WHERE is_from_distributed AND NOT is_to_distributed",
        example="CREATE TABLE plain (id uuid PRIMARY KEY);"
        " ALTER TABLE projects ADD CONSTRAINT extra FOREIGN KEY (id) REFERENCES plain",
        said="extra leaves the distributed tables",
    ),
    "no other table refers to a distributed one": Rule(
        source="commands/foreign_constraint.c: ErrorIfUnsupportedForeignConstraintExists,"
        " 'foreign keys from reference tables and local tables to distributed tables'",
        offenders="SELECT conname || ' comes from a table without a tenant' FROM link"
        " WHERE is_to_distributed AND NOT is_from_distributed",
        example="CREATE TABLE plain (owner varchar(63) CONSTRAINT extra REFERENCES tenants)",
        said="extra comes from a table without a tenant",
    ),
    "a foreign key has the tenant in the same place on both sides": Rule(
        source="commands/foreign_constraint.c: ErrorIfUnsupportedForeignConstraintExists,"
        " 'including partition column in the same ordinal in the both tables'",
        offenders="SELECT conname || ' may refer to another tenant' FROM link"
        " WHERE is_from_distributed AND is_to_distributed AND referring IS DISTINCT FROM referred"
        " OR is_from_distributed AND referring IS NULL",
        example=f"CREATE TABLE more (other varchar(63) CONSTRAINT extra REFERENCES tenants, {KEYED})",
        said="extra may refer to another tenant",
    ),
    "what is deleted sets nothing to null or default": Rule(
        source="commands/foreign_constraint.c: EnsureSupportedFKeyOnDistKey, ON DELETE;"
        " naming only other columns, ON DELETE SET NULL (project_id), does not help",
        offenders="SELECT conname || ' sets on delete' FROM link"
        " WHERE referring IS NOT NULL AND confdeltype IN ('n', 'd')",
        example="ALTER TABLE tasks ADD CONSTRAINT extra FOREIGN KEY (tenant_id, project_id)"
        " REFERENCES projects ON DELETE SET NULL",
        said="extra sets on delete",
    ),
    "what is updated changes nothing else": Rule(
        source="commands/foreign_constraint.c: EnsureSupportedFKeyOnDistKey, ON UPDATE",
        offenders="SELECT conname || ' changes on update' FROM link"
        " WHERE referring IS NOT NULL AND confupdtype IN ('n', 'd', 'c')",
        example="ALTER TABLE tasks ADD CONSTRAINT extra FOREIGN KEY (tenant_id, project_id)"
        " REFERENCES projects ON UPDATE CASCADE",
        said="extra changes on update",
    ),
    # Sequences
    "no foreign key sets what comes from a sequence": Rule(
        source="commands/foreign_constraint.c: ForeignKeySetsNextValColumnToDefault",
        offenders="SELECT conname || ' sets a number of a sequence' FROM link"
        " JOIN filled ON relation = conrelid AND position = ANY (conkey)"
        " WHERE 'd' IN (confdeltype, confupdtype)",
        example="CREATE TABLE more (tenant_id varchar(63), id bigserial, up bigserial,"
        " PRIMARY KEY (tenant_id, id), CONSTRAINT extra FOREIGN KEY (tenant_id, up)"
        " REFERENCES more ON DELETE SET DEFAULT)",
        said="extra sets a number of a sequence",
    ),
    "a sequence fills columns of one type": Rule(
        source="commands/create_distributed_table.c: EnsureSequenceTypeSupported",
        offenders="SELECT sequence::regclass || ' is used for several types' FROM filled"
        " GROUP BY sequence HAVING count(DISTINCT type) > 1",
        example="CREATE SEQUENCE extra; CREATE TABLE more (a int DEFAULT nextval('extra'),"
        f" b bigint DEFAULT nextval('extra'), {KEYED})",
        said="extra is used for several types",
    ),
    "a sequence fills no small numbers": Rule(
        source="pull request 7008, 'nextval(sequence) calls in worker nodes are not supported"
        " for column defaults of type int or smallint'",
        offenders="SELECT name || '.' || \"column\" || ' is too small for a sequence' FROM filled"
        " WHERE type IN ('int2'::regtype, 'int4'::regtype)",
        example="ALTER TABLE projects ADD COLUMN number serial",
        said="projects.number is too small for a sequence",
    ),
    "a table has no identity column": Rule(
        source="issues 6808 and 7564: a table with one can't be altered or undistributed",
        offenders="SELECT name || ' has an identity column' FROM distributed WHERE EXISTS ("
        "SELECT FROM pg_attribute WHERE attrelid = distributed.oid AND attidentity <> '')",
        example="ALTER TABLE projects ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY",
        said="projects has an identity column",
    ),
}


def offenders(database: Database, rule: str, change: str = "") -> set[str]:
    """Return what a schema has against a rule, as it is or as it would be after a change."""

    async def read(connection: Any) -> set[str]:
        rows = await connection.fetch(DISTRIBUTED + RULES[rule].offenders)
        return {str(row[0]) for row in rows}

    return database.look(read, change)


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Database:
    return Database(cluster)


@pytest.mark.parametrize("rule", RULES)
def test_the_schema_keeps_the_rules_of_citus(database: Database, rule: str) -> None:
    assert offenders(database, rule) == set()


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_finds_what_offends_it(database: Database, rule: str) -> None:
    assert RULES[rule].said in offenders(database, rule, RULES[rule].example)
