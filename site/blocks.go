package site

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
)

// A Block is an entry of the block list, with what an operator wants to remember of it.
type Block struct {
	identity.Block
	Reason  string    `json:"reason"`
	Created time.Time `json:"created"`
}

// Blocks returns the block list, oldest first.
func (s *Store) Blocks(ctx context.Context) (out []Block, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		out, err = s.blocks(ctx, tx)
		return err
	})
	return out, err
}

func (s *Store) blocks(ctx context.Context, tx *sql.Tx) ([]Block, error) {
	rows, err := tx.QueryContext(ctx, "SELECT body, reason, created FROM block ORDER BY rowid")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Block
	for rows.Next() {
		var b Block
		var body, created string
		if err := rows.Scan(&body, &b.Reason, &created); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(body), &b.Block); err != nil {
			return nil, fmt.Errorf("block %s: %w", body, err)
		}
		if b.Created, err = time.Parse(time.RFC3339Nano, created); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, rows.Err()
}

// Block refuses a device or a certificate from the next documents on. What is blocked already stays as it is.
func (s *Store) Block(ctx context.Context, by string, b identity.Block, reason string) error {
	b = asStored(b)
	if err := b.Check(); err != nil {
		return usage("give a device id, a SHA-256 thumbprint, or an issuer with a serial number", "block: %v", err)
	}
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	detail := map[string]any{"block": b, "reason": reason}
	err = s.change(ctx, record{By: by, Action: "device.block", Subject: subjectOf(b), Detail: detail}, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "INSERT INTO block (body, reason, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
			string(body), reason, s.now().UTC().Round(0).Format(time.RFC3339Nano))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errUnchanged)
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// errUnchanged undoes a change that would change nothing, so that it leaves no audit record.
var errUnchanged = errors.New("unchanged")

// Unblock takes a block back.
func (s *Store) Unblock(ctx context.Context, by string, b identity.Block) error {
	b = asStored(b)
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return s.change(ctx, record{By: by, Action: "device.unblock", Subject: subjectOf(b), Detail: map[string]any{"block": b}}, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM block WHERE body = ?", string(body))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, notFound("block of", subjectOf(b)))
		}
		return nil
	})
}

// asStored is the one form of a block, so that who took it back need not spell the device's name as who made it.
func asStored(b identity.Block) identity.Block {
	b.DeviceID = causeway.DeviceID(strings.ToLower(string(b.DeviceID)))
	return b
}

// subjectOf names a block in the audit log.
func subjectOf(b identity.Block) string {
	switch {
	case b.DeviceID != "":
		return string(b.DeviceID)
	case b.Thumbprint != "":
		return b.Thumbprint
	}
	return b.Serial
}
