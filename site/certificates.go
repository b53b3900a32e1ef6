package site

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/siteca"
)

// A DeviceCA is an organisation's own authority whose device certificates are admitted.
type DeviceCA struct {
	Name        string
	Certificate *x509.Certificate
}

// Thumbprint is the SHA-256 of a certificate in lower-case hexadecimal digits.
func Thumbprint(c *x509.Certificate) string {
	h := sha256.Sum256(c.Raw)
	return hex.EncodeToString(h[:])
}

// DeviceCAs returns the organisation's authorities. The site's own, DeviceCA, is not among them.
func (s *Store) DeviceCAs(ctx context.Context) (out []DeviceCA, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		out, err = s.deviceCAs(ctx, tx)
		return err
	})
	return out, err
}

func (s *Store) deviceCAs(ctx context.Context, tx *sql.Tx) ([]DeviceCA, error) {
	rows, err := tx.QueryContext(ctx, "SELECT name, certificate FROM device_ca ORDER BY name, thumbprint")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []DeviceCA
	for rows.Next() {
		var ca DeviceCA
		var der []byte
		if err := rows.Scan(&ca.Name, &der); err != nil {
			return nil, err
		}
		if ca.Certificate, err = x509.ParseCertificate(der); err != nil {
			return nil, err
		}
		out = append(out, ca)
	}
	return out, rows.Err()
}

// ReplaceDeviceCAs trusts exactly these authorities beside the site's own.
func (s *Store) ReplaceDeviceCAs(ctx context.Context, by string, certs []*x509.Certificate) error {
	old, err := s.DeviceCAs(ctx)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, c := range certs {
		keep[Thumbprint(c)] = true
	}
	for _, o := range old {
		t := Thumbprint(o.Certificate)
		if keep[t] {
			delete(keep, t) // is there already
			continue
		}
		if err := s.removeDeviceCA(ctx, by, o); err != nil {
			return err
		}
	}
	for _, c := range certs {
		if t := Thumbprint(c); keep[t] {
			delete(keep, t)
			if err := s.addDeviceCA(ctx, by, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) addDeviceCA(ctx context.Context, by string, c *x509.Certificate) error {
	if _, err := identity.ParseCA(c.Raw); err != nil {
		return usage("give the certificate of the authority that signs the devices' certificates", "%q cannot vouch for devices: %v", c.Subject, err)
	}
	name := c.Subject.CommonName
	if name == "" {
		name = c.Subject.String()
	}
	r := record{By: by, Action: "device-ca.add", Subject: Thumbprint(c), Detail: map[string]any{"name": name, "not_after": c.NotAfter.UTC()}}
	return s.change(ctx, r, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO device_ca (thumbprint, name, certificate) VALUES (?, ?, ?)", Thumbprint(c), name, c.Raw)
		return err
	})
}

func (s *Store) removeDeviceCA(ctx context.Context, by string, ca DeviceCA) error {
	r := record{By: by, Action: "device-ca.remove", Subject: Thumbprint(ca.Certificate), Detail: map[string]any{"name": ca.Name}}
	return s.change(ctx, r, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM device_ca WHERE thumbprint = ?", Thumbprint(ca.Certificate))
		return err
	})
}

// IssueDevice issues a device certificate. Its key is in the answer and nowhere else.
func (s *Store) IssueDevice(ctx context.Context, by string, id causeway.DeviceID) (siteca.Issued, error) {
	i, err := s.deviceCA.IssueDevice(id, s.now())
	if err != nil {
		return i, err
	}
	return i, s.recordIssue(ctx, by, "device", string(id), i)
}

// IssueConnectionPoint issues the certificate of a connection point that the site has.
func (s *Store) IssueConnectionPoint(ctx context.Context, by string, id causeway.ConnectionPointID) (siteca.Issued, error) {
	i, err := s.siteCA.IssueConnectionPoint(s.id, id, s.now())
	if err != nil {
		return i, err
	}
	return i, s.recordIssue(ctx, by, "connection-point", string(id), i)
}

// IssueService issues a service certificate for names, each a DNS name or an IP address.
func (s *Store) IssueService(ctx context.Context, by string, names []string) (siteca.Issued, error) {
	i, err := s.siteCA.IssueService(names, s.now())
	if err != nil {
		return i, err
	}
	return i, s.recordIssue(ctx, by, "service", fmt.Sprint(names), i)
}

// An IssuedDevice is a device certificate that the site's own CA signed.
type IssuedDevice struct {
	Device     causeway.DeviceID
	Serial     string // hexadecimal
	Thumbprint string // SHA-256, hexadecimal
	Issued     time.Time
	NotAfter   time.Time
}

// IssuedDevices returns the device certificates of the site's own CA that have not expired, by device and time.
func (s *Store) IssuedDevices(ctx context.Context) (out []IssuedDevice, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT subject, serial, thumbprint, issued, not_after FROM certificate WHERE kind = 'device' ORDER BY subject, rowid")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d IssuedDevice
			var issued, notAfter string
			if err := rows.Scan(&d.Device, &d.Serial, &d.Thumbprint, &issued, &notAfter); err != nil {
				return err
			}
			var errs [2]error
			d.Issued, errs[0] = time.Parse(time.RFC3339, issued)
			d.NotAfter, errs[1] = time.Parse(time.RFC3339, notAfter)
			if err := errors.Join(errs[:]...); err != nil {
				return err
			}
			if s.now().Before(d.NotAfter) {
				out = append(out, d)
			}
		}
		return rows.Err()
	})
	return out, err
}

func (s *Store) recordIssue(ctx context.Context, by, kind, subject string, i siteca.Issued) error {
	serial := i.Certificate.SerialNumber.Text(16)
	r := record{By: by, Action: "certificate.issue", Subject: subject,
		Detail: map[string]any{"kind": kind, "serial": serial, "thumbprint": Thumbprint(i.Certificate), "not_after": i.Certificate.NotAfter}}
	return s.change(ctx, r, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO certificate (serial, kind, subject, thumbprint, not_after, issued) VALUES (?, ?, ?, ?, ?, ?)",
			serial, kind, subject, Thumbprint(i.Certificate), i.Certificate.NotAfter.Format(time.RFC3339), s.now().UTC().Format(time.RFC3339))
		return err
	})
}
