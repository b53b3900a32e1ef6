package site

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A record is what the audit log keeps of a change. Detail holds no secret.
type record struct {
	By, Action, Subject string
	Detail              map[string]any
}

// An AuditRecord is one line of the audit log.
type AuditRecord struct {
	Seq      int64           `json:"seq"`
	Time     time.Time       `json:"time"`
	By       string          `json:"by"`
	Action   string          `json:"action"`
	Subject  string          `json:"subject"`
	Detail   json.RawMessage `json:"detail"`
	Previous string          `json:"previous"` // hash of the record before; empty for the first
	Hash     string          `json:"hash"`
}

// chain returns the record's hash: SHA-256 over the JSON of everything else in it, in this order.
func (a AuditRecord) chain() string {
	a.Hash = ""
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings, numbers and JSON that was made by Marshal
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// change makes one change and its audit record, both or none.
func (s *Store) change(ctx context.Context, r record, f func(tx *sql.Tx) error) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		return s.audit(ctx, tx, r)
	})
}

// Record puts an action that changes nothing in the store, such as a stop, into the audit log.
func (s *Store) Record(ctx context.Context, by, action, subject string) error {
	return s.change(ctx, record{By: by, Action: action, Subject: subject}, func(*sql.Tx) error { return nil })
}

func (s *Store) audit(ctx context.Context, tx *sql.Tx, r record) error {
	if r.Detail == nil {
		r.Detail = map[string]any{}
	}
	detail, err := json.Marshal(r.Detail)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	var last AuditRecord
	err = tx.QueryRowContext(ctx, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").Scan(&last.Seq, &last.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("audit: %w", err)
	}
	a := AuditRecord{Seq: last.Seq + 1, Time: s.now().UTC().Round(0), By: r.By, Action: r.Action, Subject: r.Subject, Detail: detail, Previous: last.Hash}
	a.Hash = a.chain()
	_, err = tx.ExecContext(ctx, "INSERT INTO audit (seq, time, by, action, subject, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		a.Seq, a.Time.Format(time.RFC3339Nano), a.By, a.Action, a.Subject, string(detail), a.Previous, a.Hash)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// Audit returns the audit log from record number from on, at most limit records.
func (s *Store) Audit(ctx context.Context, from int64, limit int) (out []AuditRecord, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT seq, time, by, action, subject, detail, previous, hash FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?", from, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var a AuditRecord
			var at, detail string
			if err := rows.Scan(&a.Seq, &at, &a.By, &a.Action, &a.Subject, &detail, &a.Previous, &a.Hash); err != nil {
				return err
			}
			if a.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
				return err
			}
			a.Detail = json.RawMessage(detail)
			out = append(out, a)
		}
		return rows.Err()
	})
	return out, err
}

// auditPage is how many records VerifyAudit holds at a time.
const auditPage = 1000

// VerifyAudit checks that the audit log is one unbroken chain. The error names the first record that is not as it
// was written, or is missing.
func (s *Store) VerifyAudit(ctx context.Context) error {
	want, previous := int64(1), ""
	for {
		page, err := s.Audit(ctx, want, auditPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, a := range page {
			switch {
			case a.Seq != want:
				return fmt.Errorf("audit record %d is missing", want)
			case a.Previous != previous:
				return fmt.Errorf("audit record %d does not follow the one before it", a.Seq)
			case a.Hash != a.chain():
				return fmt.Errorf("audit record %d was changed", a.Seq)
			}
			want, previous = a.Seq+1, a.Hash
		}
	}
}
