"""Put an exporter of the audit trail on trial: compare, count, time and judge its exports."""
