package site

import (
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// A Server is one published server: what devices may ask of it, and how connection points reach it.
type Server struct {
	policy.Publication
	URL               string        `json:"url"` // http or https, host, optional port and path prefix
	CAs               string        `json:"cas,omitempty"`
	ClientCertificate string        `json:"client_certificate,omitempty"`
	ClientKey         signed.Secret `json:"-"` // sealed in a column of its own
	HostHeader        string        `json:"host_header,omitempty"`
	IdentityForms     []string      `json:"identity_forms,omitempty"`
}

// Signed is how the connection points' document says it.
func (v Server) Signed() signed.Server {
	return signed.Server{Name: v.Name, URL: v.URL, CAs: v.CAs, ClientCertificate: v.ClientCertificate, ClientKey: v.ClientKey,
		HostHeader: v.HostHeader, IdentityForms: v.IdentityForms}
}

// check says what is wrong with the server's definition on its own, as a connection point would. What concerns the
// policy is left to policy.Compile, which sees all servers together.
func (v *Server) check() error {
	if err := v.Signed().Check(); err != nil {
		return usageError{err}
	}
	return nil
}

// usage makes an error of the caller, with what to do about it.
func usage(hint, format string, args ...any) error {
	return causeway.WithHint(usageError{fmt.Errorf(format, args...)}, "%s", hint)
}

// A usageError is causeway.ErrUsage without repeating the word in its text.
type usageError struct{ error }

func (u usageError) Unwrap() []error { return []error{u.error, causeway.ErrUsage} }

// notFound makes an error that is causeway.ErrNotFound.
func notFound(what string, name any) error {
	return fmt.Errorf("%s %v: %w", what, name, causeway.ErrNotFound)
}

// Servers returns the published servers in the order of their names.
func (s *Store) Servers(ctx context.Context) (out []Server, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		out, err = s.servers(ctx, tx)
		return err
	})
	return out, err
}

func (s *Store) servers(ctx context.Context, tx *sql.Tx) ([]Server, error) {
	rows, err := tx.QueryContext(ctx, "SELECT name, body, client_key FROM server ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Server
	for rows.Next() {
		var name, body string
		var key []byte
		if err := rows.Scan(&name, &body, &key); err != nil {
			return nil, err
		}
		var v Server
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			return nil, fmt.Errorf("server %s: %w", name, err)
		}
		if key != nil {
			text, err := s.sealer.Open("server/"+name, key)
			if err != nil {
				return nil, err
			}
			v.ClientKey = signed.Secret(text)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// AddServer publishes a server. A name that is taken, a bad definition, or one that clashes with another server is
// causeway.ErrUsage, and nothing is changed.
func (s *Store) AddServer(ctx context.Context, by string, v Server) error {
	if err := v.check(); err != nil {
		return err
	}
	return s.change(ctx, record{By: by, Action: "server.add", Subject: string(v.Name), Detail: v.detail()}, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM server WHERE name = ?", string(v.Name)).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return usage("choose another name, or change the server with: causeway server set "+string(v.Name), "a server named %s is already published", v.Name)
		}
		return s.putServer(ctx, tx, v)
	})
}

// SetServer changes a published server: f gets it as it is and returns it as it shall be, under the same name.
func (s *Store) SetServer(ctx context.Context, by string, name causeway.ServerName, f func(Server) (Server, error)) (out Server, err error) {
	r := record{By: by, Action: "server.set", Subject: string(name), Detail: map[string]any{}}
	err = s.change(ctx, r, func(tx *sql.Tx) error {
		all, err := s.servers(ctx, tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(v Server) bool { return v.Name == name })
		if i < 0 {
			return notFound("server", name)
		}
		if out, err = f(all[i]); err != nil {
			return err
		}
		out.Name = name
		if err := out.check(); err != nil {
			return err
		}
		maps.Copy(r.Detail, changeOf(&all[i], &out))
		return s.putServer(ctx, tx, out)
	})
	return out, err
}

// RemoveServer takes a server back from the internet.
func (s *Store) RemoveServer(ctx context.Context, by string, name causeway.ServerName) error {
	return s.change(ctx, record{By: by, Action: "server.remove", Subject: string(name)}, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM server WHERE name = ?", string(name))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, notFound("server", name))
		}
		return nil
	})
}

// putServer writes a server that was checked, and checks it together with all others.
func (s *Store) putServer(ctx context.Context, tx *sql.Tx, v Server) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var key []byte
	if v.ClientKey != "" {
		key = s.sealer.Seal("server/"+string(v.Name), []byte(v.ClientKey))
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO server (name, body, client_key) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body, client_key = excluded.client_key",
		string(v.Name), string(body), key)
	if err != nil {
		return err
	}
	return s.checkPolicy(ctx, tx)
}

// checkPolicy compiles what every gateway would have to.
func (s *Store) checkPolicy(ctx context.Context, tx *sql.Tx) error {
	servers, err := s.servers(ctx, tx)
	if err != nil {
		return err
	}
	gateways, err := s.gateways(ctx, tx)
	if err != nil {
		return err
	}
	if len(gateways) == 0 {
		gateways = []Gateway{{ServiceName: "gateway.invalid", ServicePort: causeway.HTTPSPort}} // no name to clash with yet
	}
	for _, g := range gateways {
		if _, err := policy.Compile(g.ServiceName, g.ServicePort, publications(servers)); err != nil {
			return usageError{err}
		}
	}
	return nil
}

func publications(servers []Server) []policy.Publication {
	out := make([]policy.Publication, len(servers))
	for i, v := range servers {
		out[i] = v.Publication
	}
	return out
}

// changeOf is what the audit log keeps of a change. Of a key it keeps that it is another one, and nothing of the key.
func changeOf(before, after *Server) map[string]any {
	d := map[string]any{"before": before.detail(), "after": after.detail()}
	if before.ClientKey != after.ClientKey {
		d["client_key"] = "changed"
	}
	return d
}

// detail is what the audit log keeps of a server: every field but the key, certificates by their thumbprints.
func (v *Server) detail() map[string]any {
	d := map[string]any{"url": v.URL}
	if v.Host != "" {
		d["host"] = v.Host
	}
	if v.ManagementPoint != 0 {
		d["management_point"] = v.ManagementPoint
	}
	if len(v.Rules) > 0 {
		d["rules"] = v.Rules
	}
	if v.HostHeader != "" {
		d["host_header"] = v.HostHeader
	}
	if len(v.IdentityForms) > 0 {
		d["identity_forms"] = v.IdentityForms
	}
	if v.MaxInFlight != 0 {
		d["max_in_flight"] = v.MaxInFlight
	}
	if v.CAs != "" {
		d["cas"] = thumbprintsOfPEM(v.CAs)
	}
	if v.ClientCertificate != "" {
		d["client_certificate"] = thumbprintsOfPEM(v.ClientCertificate)
	}
	return d
}

// thumbprintsOfPEM names every certificate of a PEM text.
func thumbprintsOfPEM(text string) []string {
	out := []string{}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		out = append(out, Thumbprint(&x509.Certificate{Raw: block.Bytes}))
	}
}

// parseCertificate reads the first certificate of a PEM text.
func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
