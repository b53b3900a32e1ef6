package identity

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/causeway-gateway/causeway"
)

// blocks is a compiled block list.
type blocks struct {
	thumbprints map[[32]byte]bool
	serials     map[issuerSerial]bool
	devices     map[string]bool // lower case
}

type issuerSerial struct{ issuer, serial string }

func compileBlocks(list []Block) (blocks, error) {
	b := blocks{map[[32]byte]bool{}, map[issuerSerial]bool{}, map[string]bool{}}
	for i, block := range list {
		if err := b.add(block); err != nil {
			return blocks{}, fmt.Errorf("block %d: %w", i, err)
		}
	}
	return b, nil
}

// Check says what is wrong with a block.
func (b Block) Check() error {
	_, err := compileBlocks([]Block{b})
	return err
}

func (b *blocks) add(block Block) error {
	forms := 0
	if block.Thumbprint != "" {
		forms++
		raw, err := hex.DecodeString(block.Thumbprint)
		if err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != block.Thumbprint {
			return fmt.Errorf("thumbprint %q, want 64 lower-case hexadecimal digits", block.Thumbprint)
		}
		b.thumbprints[[32]byte(raw)] = true
	}
	if block.Serial != "" || len(block.Issuer) > 0 {
		forms++
		n, ok := new(big.Int).SetString(block.Serial, 16)
		if !ok || n.Text(16) != block.Serial || n.Sign() < 0 {
			return fmt.Errorf("serial %q, want lower-case hexadecimal without leading zeros", block.Serial)
		}
		if len(block.Issuer) == 0 {
			return errors.New("serial without issuer")
		}
		b.serials[issuerSerial{string(block.Issuer), block.Serial}] = true
	}
	if block.DeviceID != "" {
		forms++
		if err := CheckDeviceID(block.DeviceID); err != nil {
			return err
		}
		b.devices[strings.ToLower(string(block.DeviceID))] = true
	}
	if forms != 1 {
		return fmt.Errorf("%d of thumbprint, issuer with serial and device id are set, want one", forms)
	}
	return nil
}

// certificate says whether a certificate is blocked. issuer is the one whose signature on it was verified.
func (b *blocks) certificate(c, issuer *x509.Certificate) *causeway.Refusal {
	if len(b.serials) > 0 && b.serials[issuerSerial{string(c.RawIssuer), c.SerialNumber.Text(16)}] {
		return causeway.Refuse(causeway.CodeClientCertificateBlocked, "%s: blocked by issuer and serial %s", nameOf(c), c.SerialNumber.Text(16))
	}
	if len(b.thumbprints) == 0 {
		return nil
	}
	for _, der := range [][]byte{c.Raw, twin(c, issuer)} {
		if sum := sha256.Sum256(der); b.thumbprints[sum] {
			return causeway.Refuse(causeway.CodeClientCertificateBlocked, "%s: blocked by thumbprint %x", nameOf(c), sum)
		}
	}
	return nil
}

func (b *blocks) device(id causeway.DeviceID) *causeway.Refusal {
	if b.devices[strings.ToLower(string(id))] {
		return causeway.Refuse(causeway.CodeClientCertificateBlocked, "device %q is blocked", id)
	}
	return nil
}

// twin returns the other form of a certificate that an ECDSA key signed: (r, s) and (r, n-s) are signatures of the
// same bytes, so whoever holds one form can make the other, and with it a second thumbprint of one certificate.
func twin(c, issuer *x509.Certificate) []byte {
	key, ok := issuer.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil
	}
	o, err := parseOuter(c)
	if err != nil {
		return nil
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(o.Signature.Bytes, &sig); err != nil {
		return nil
	}
	sig.S = new(big.Int).Sub(key.Params().N, sig.S)
	if o.Signature.Bytes, err = asn1.Marshal(sig); err != nil {
		return nil
	}
	o.Signature.BitLength = 8 * len(o.Signature.Bytes)
	der, err := asn1.Marshal(o)
	if err != nil {
		return nil
	}
	return der
}
