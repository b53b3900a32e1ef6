// Package cmtrace writes and reads the log lines that ConfigMgr administrators read with CMTrace.
//
//	slog record ─► Handler ─► <![LOG[message key=value …]LOG]!><time="…" date="…" component="…" …> ─► File, rotated to .lo_
//	           └─► JSON handler, the same records for machines ─► File
//
// One record is one line that Parse reads again, whatever bytes the record held: line breaks, control and other
// unprintable characters, and the marks that begin and end a message are escaped, and a message is cut at
// MaxMessageBytes. Times are UTC.
package cmtrace
