package cli

import (
	"context"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/signed"
)

// IssueDevice answers the admin API.
func (u *upRun) IssueDevice(ctx context.Context, by string, name causeway.DeviceID) (console.DeviceCertificate, error) {
	issued, err := u.store.IssueDevice(ctx, by, name)
	if err != nil {
		return console.DeviceCertificate{}, err
	}
	return console.DeviceCertificate{Certificate: string(issued.CertPEM), Key: signed.Secret(issued.KeyPEM)}, nil
}

// Devices answers the admin API.
func (u *upRun) Devices(ctx context.Context) (console.Devices, error) {
	d := console.Devices{Certificates: []console.IssuedDevice{}, Blocks: []console.Block{}}
	blocks, err := u.store.Blocks(ctx)
	if err != nil {
		return d, err
	}
	for _, b := range blocks {
		d.Blocks = append(d.Blocks, console.Block{Block: b.Block, Reason: b.Reason, Created: b.Created})
	}
	issued, err := u.store.IssuedDevices(ctx)
	if err != nil {
		return d, err
	}
	blocked := map[string]bool{}
	for _, b := range blocks {
		blocked[b.Thumbprint+string(b.DeviceID)] = true
	}
	for _, i := range issued {
		d.Certificates = append(d.Certificates, console.IssuedDevice{
			Device: i.Device, Serial: i.Serial, Thumbprint: i.Thumbprint, Issued: i.Issued, NotAfter: i.NotAfter,
			Blocked: blocked[i.Thumbprint] || blocked[strings.ToLower(string(i.Device))],
		})
	}
	return d, nil
}

// BlockDevice answers the admin API.
func (u *upRun) BlockDevice(ctx context.Context, by string, b identity.Block, reason string) (console.Change, error) {
	if err := u.store.Block(ctx, by, b, reason); err != nil {
		return console.Change{}, err
	}
	return u.spreadDocuments(ctx)
}

// UnblockDevice answers the admin API.
func (u *upRun) UnblockDevice(ctx context.Context, by string, b identity.Block) (console.Change, error) {
	if err := u.store.Unblock(ctx, by, b); err != nil {
		return console.Change{}, err
	}
	return u.spreadDocuments(ctx)
}
