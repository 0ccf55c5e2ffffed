"""The `landscape` command: lists, exports, reconciles and verifies audit trails."""
