package site

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
)

// A Gateway is one service name with its instances: how devices call it and how connection points dial it.
type Gateway struct {
	Name                     causeway.GatewayName `json:"name"`
	ServiceName              string               `json:"service_name"`
	ServicePort              int                  `json:"service_port"`
	Address                  string               `json:"address"` // host or IP that connection points dial
	ServiceCAs               [][]byte             `json:"service_cas,omitempty"`
	ServiceCertificateSHA256 []string             `json:"service_certificate_sha256,omitempty"`
	Limits                   signed.Limits        `json:"limits"`
	Instances                []Instance           `json:"instances"`
}

// An Instance is one instance of a gateway.
type Instance struct {
	Slot           causeway.Slot       `json:"slot"`
	ID             causeway.InstanceID `json:"id"`
	Name           string              `json:"name"`
	PrivateAddress string              `json:"private_address,omitempty"`
	Address        string              `json:"address,omitempty"` // that connection points dial; empty: the gateway's
	ChannelPort    int                 `json:"channel_port"`      // likewise
}

// Gateways returns the site's gateways in the order of their names.
func (s *Store) Gateways(ctx context.Context) (out []Gateway, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		out, err = s.gateways(ctx, tx)
		return err
	})
	return out, err
}

func (s *Store) gateways(ctx context.Context, tx *sql.Tx) ([]Gateway, error) {
	rows, err := tx.QueryContext(ctx, "SELECT body FROM gateway ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Gateway
	for rows.Next() {
		var body string
		var g Gateway
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(body), &g); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		out = append(out, g)
	}
	return out, rows.Err()
}

// PutGateway adds a gateway or replaces the one of its name. One that stays as it is leaves no audit record.
func (s *Store) PutGateway(ctx context.Context, by string, g Gateway) error {
	if err := g.check(); err != nil {
		return err
	}
	body, err := json.Marshal(g)
	if err != nil {
		return err
	}
	old, err := s.Gateways(ctx)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(old, func(o Gateway) bool { return o.Name == g.Name }); i >= 0 {
		if was, err := json.Marshal(old[i]); err != nil || string(was) == string(body) {
			return err
		}
	}
	detail := map[string]any{"service_name": g.ServiceName, "service_port": g.ServicePort, "address": g.Address, "instances": g.Instances}
	return s.change(ctx, record{By: by, Action: "gateway.put", Subject: string(g.Name), Detail: detail}, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO gateway (name, body) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body", string(g.Name), string(body))
		if err != nil {
			return err
		}
		return s.checkPolicy(ctx, tx)
	})
}

func (g *Gateway) check() error {
	if g.Name == "" || g.ServiceName == "" || g.Address == "" {
		return fmt.Errorf("gateway %q: name, service name and address are all needed", g.Name)
	}
	if len(g.ServiceCAs) == 0 && len(g.ServiceCertificateSHA256) == 0 {
		return fmt.Errorf("gateway %s: neither a CA nor a pin says which service certificate is the right one", g.Name)
	}
	if len(g.Instances) > causeway.MaxSlots {
		return fmt.Errorf("gateway %s: %d instances, at most %d are possible", g.Name, len(g.Instances), causeway.MaxSlots)
	}
	slots := map[causeway.Slot]bool{}
	for _, i := range g.Instances {
		if !i.Slot.Valid() || slots[i.Slot] || i.ID == "" || i.ChannelPort < 1 || i.ChannelPort > 65535 {
			return fmt.Errorf("gateway %s: instance %+v: slot 0-15 used once, id and channel port are needed", g.Name, i)
		}
		slots[i.Slot] = true
	}
	return nil
}

// NextInstanceID returns an id that no instance of the site ever had.
func (s *Store) NextInstanceID(ctx context.Context) (id causeway.InstanceID, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		n, err := s.count(ctx, tx, "instances")
		id = causeway.InstanceID(fmt.Sprintf("gw-%d", n))
		return err
	})
	return id, err
}

// count raises a counter among the settings and returns it.
func (s *Store) count(ctx context.Context, tx *sql.Tx, name string) (n uint64, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO setting (name, value) VALUES (?, '1')
		ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) RETURNING CAST(value AS INTEGER)`, name).Scan(&n)
	return n, err
}

// A ConnectionPoint is one that the site's gateways admit.
type ConnectionPoint struct {
	ID           causeway.ConnectionPointID `json:"id"`
	ConnectionID string                     `json:"connection_id"`
	Created      time.Time                  `json:"created"`
}

// ConnectionPoints returns the site's connection points in the order of their ids.
func (s *Store) ConnectionPoints(ctx context.Context) (out []ConnectionPoint, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		out, err = s.connectionPoints(ctx, tx)
		return err
	})
	return out, err
}

func (s *Store) connectionPoints(ctx context.Context, tx *sql.Tx) ([]ConnectionPoint, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, connection_id, created FROM connection_point ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []ConnectionPoint
	for rows.Next() {
		var c ConnectionPoint
		var created string
		if err := rows.Scan(&c.ID, &c.ConnectionID, &created); err != nil {
			return nil, err
		}
		if c.Created, err = time.Parse(time.RFC3339Nano, created); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

// AddConnectionPoint admits a connection point and gives it a connection id. One that exists is returned as it is.
func (s *Store) AddConnectionPoint(ctx context.Context, by string, id causeway.ConnectionPointID) (ConnectionPoint, error) {
	all, err := s.ConnectionPoints(ctx)
	if err != nil {
		return ConnectionPoint{}, err
	}
	if i := slices.IndexFunc(all, func(c ConnectionPoint) bool { return c.ID == id }); i >= 0 {
		return all[i], nil
	}
	if !folderName(string(id)) {
		return ConnectionPoint{}, usage("use 1 to 64 lower-case letters, digits and hyphens", "connection point name %q", id)
	}
	c := ConnectionPoint{ID: id, ConnectionID: rand.Text(), Created: s.now().UTC().Round(0)}
	return c, s.change(ctx, record{By: by, Action: "connection-point.add", Subject: string(id)}, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO connection_point (id, connection_id, created) VALUES (?, ?, ?)",
			string(c.ID), c.ConnectionID, c.Created.Format(time.RFC3339Nano))
		return err
	})
}

// folderName says whether a name is safe as the name of a folder everywhere, as a common name and in a URI.
func folderName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 64 && s[0] != '-'
}

// RemoveConnectionPoint takes the right to connect away.
func (s *Store) RemoveConnectionPoint(ctx context.Context, by string, id causeway.ConnectionPointID) error {
	return s.change(ctx, record{By: by, Action: "connection-point.remove", Subject: string(id)}, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM connection_point WHERE id = ?", string(id))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, notFound("connection point", id))
		}
		return nil
	})
}
