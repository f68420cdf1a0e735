"""What a PostgreSQL login may do beside reading, and the SQL that makes one which can only read."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql as composing

from exspin.sql.engines.login import READER, Login

# Roles that the login may act as count as the login itself, whether it inherits their rights or not.
_ROLES = "FROM pg_catalog.pg_roles r WHERE pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')"
_MIGHTY = f"""SELECT r.rolname {_ROLES} AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
    OR r.rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_read_server_files', 'pg_execute_server_program',
    'pg_signal_backend', 'pg_checkpoint', 'pg_maintain', 'pg_create_subscription')) ORDER BY r.rolname LIMIT 3"""
_WRITABLE = f"""SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, (SELECT r.oid {_ROLES}) me
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (pg_catalog.has_table_privilege(me.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
    OR pg_catalog.has_any_column_privilege(me.oid, c.oid, 'INSERT, UPDATE')) ORDER BY name LIMIT 3"""
_CREATING = f"""SELECT DISTINCT n.nspname FROM pg_catalog.pg_namespace n, (SELECT r.oid {_ROLES}) me
    WHERE n.nspname !~ '^pg_' AND pg_catalog.has_schema_privilege(me.oid, n.oid, 'CREATE') ORDER BY n.nspname LIMIT 3"""
_MAKING = f"""SELECT bool_or(pg_catalog.has_database_privilege(me.oid, pg_catalog.current_database(), 'CREATE'))
    FROM (SELECT r.oid {_ROLES}) me"""


def more_than_reading(connection: psycopg.Connection[Any]) -> list[str]:
    """What the login may do beside reading, in words; nothing for a proper reader."""
    if connection.execute("SELECT pg_catalog.current_setting('is_superuser')").fetchone() == (
        "on",
    ):
        return ["it is a superuser"]
    why = []
    for query, words in (
        (_MIGHTY, "it has the rights of the role"),
        (_WRITABLE, "it may change"),
        (_CREATING, "it may create tables in the schema"),
    ):
        names = [row[0] for row in connection.execute(query)]
        if names:
            why.append(f"{words} {', '.join(names)}")
    if connection.execute(_MAKING).fetchone() in ((True,), (1,)):
        why.append("it may create schemas")
    return why


def reader_sql(connection: psycopg.Connection[Any], login: Login) -> list[str]:
    """The statements, for a superuser to run, that make a role which can only read this database."""
    row = connection.execute("SELECT pg_catalog.current_schema()").fetchone()
    schema, role = (row[0] if row and row[0] else "public"), composing.Identifier(READER)
    names = {
        "role": role,
        "database": composing.Identifier(login.database),
        "schema": composing.Identifier(schema),
    }
    return [
        composing.SQL(text).format(**names).as_string(None)
        for text in (
            "CREATE ROLE {role} LOGIN PASSWORD 'choose one';",
            "ALTER ROLE {role} SET default_transaction_read_only = on;",
            "ALTER ROLE {role} SET temp_file_limit = '1GB';",
            "GRANT CONNECT ON DATABASE {database} TO {role};",
            "GRANT USAGE ON SCHEMA {schema} TO {role};",
            "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};",
            "REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC;",
        )
    ]
