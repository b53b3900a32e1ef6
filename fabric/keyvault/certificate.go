package keyvault

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
)

// importCertificate makes a new version of a certificate, and with it one of the secret of its name.
func importCertificate(q *request) (int, any, error) {
	var in struct {
		Value    string `json:"value"`
		Password string `json:"pwd"`
		Policy   struct {
			Key struct {
				Exportable *bool `json:"exportable"`
			} `json:"key_props"`
			Secret struct {
				ContentType string `json:"contentType"`
			} `json:"secret_props"`
		} `json:"policy"`
		Attributes *attributes       `json:"attributes"`
		Tags       map[string]string `json:"tags"`
	}
	if err := q.read(&in); err != nil {
		return 0, nil, err
	}
	i, contentType, err := readImport(in.Value, in.Password)
	switch {
	case err != nil:
	case in.Policy.Key.Exportable != nil && !*in.Policy.Key.Exportable:
		err = errExportable
	case in.Policy.Secret.ContentType == "" && contentType == typePEM, in.Policy.Secret.ContentType != "" && in.Policy.Secret.ContentType != contentType:
		err = errors.New("the content is " + contentType + ", and the policy's secret_props.contentType says otherwise")
	}
	if err != nil {
		return 0, nil, bad("BadParameter", "The certificate cannot be imported: %v.", err)
	}
	secret, err := i.secret(contentType)
	if err != nil {
		return 0, nil, err
	}
	v := q.newVersion()
	if err := v.apply(onlyEnabled(in.Attributes), in.Tags); err != nil {
		return 0, nil, err
	}
	v.NotBefore, v.Expires, v.ContentType = i.leaf.NotBefore.Unix(), i.leaf.NotAfter.Unix(), contentType
	return q.change(certificates, func(h shelf, name string) (bundle, error) {
		if _, err := h.of(secrets).add(name, v, []byte(secret), true); err != nil {
			return bundle{}, err
		}
		v.Certificate = i.leaf.Raw
		o, err := h.add(name, v, nil, false)
		if err != nil {
			return bundle{}, err
		}
		o.Policy = i.policy(contentType)
		return q.show(h, &o, &v, true), h.tx.Put(objectBucket, h.key(name), o)
	})
}

// onlyEnabled is what of attributes may be said of a certificate: its times are its own.
func onlyEnabled(a *attributes) *attributes {
	if a == nil {
		return nil
	}
	return &attributes{Enabled: a.Enabled}
}

func getCertificate(q *request) (int, any, error) {
	return q.look(certificates, func(h shelf, name string) (bundle, error) {
		o, v, err := q.certificate(h, name)
		if err != nil {
			return bundle{}, err
		}
		return q.show(h, &o, &v, true), nil
	})
}

// certificate returns the version that the path names, the latest without one.
func (q *request) certificate(h shelf, name string) (o object, v version, err error) {
	if o, err = h.live(name); err == nil {
		v, err = h.version(&o, q.id())
	}
	return o, v, err
}

func getPolicy(q *request) (int, any, error) {
	name, err := q.name()
	if err != nil {
		return 0, nil, err
	}
	var answer any
	err = q.view(certificates, func(h shelf) error {
		o, err := h.live(name)
		if err != nil {
			return err
		}
		v, err := h.version(&o, "")
		answer = q.showPolicy(&o, &v)
		return err
	})
	return http.StatusOK, answer, err
}

// updateCertificate enables or disables a version, and the secret's with it, or sets its tags.
func updateCertificate(q *request) (int, any, error) {
	var in struct {
		Attributes *attributes       `json:"attributes"`
		Tags       map[string]string `json:"tags"`
	}
	if err := q.read(&in); err != nil {
		return 0, nil, err
	}
	change := func(_ *object, v *version) error { return v.apply(onlyEnabled(in.Attributes), in.Tags) }
	return q.change(certificates, func(h shelf, name string) (bundle, error) {
		if _, err := h.live(name); err != nil {
			return bundle{}, err
		}
		if _, err := q.amend(h.of(secrets), name, change); err != nil {
			return bundle{}, err
		}
		return q.amend(h, name, change)
	})
}

// getKey shows the public key of a certificate, as a JSON Web Key (RFC 7518, 6).
func getKey(q *request) (int, any, error) {
	name, err := q.name()
	if err != nil {
		return 0, nil, err
	}
	var answer any
	err = q.view(certificates, func(h shelf) error {
		o, v, err := q.certificate(h, name)
		if err != nil {
			return err
		}
		key, err := publicKey(v.Certificate)
		if err != nil {
			return err
		}
		key["kid"] = q.uri(keys, o.Name, v.ID)
		answer = map[string]any{"key": key, "attributes": q.attributes(&v), "tags": v.Tags, "managed": true}
		return nil
	})
	return http.StatusOK, answer, err
}

func publicKey(der []byte) (map[string]any, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	text := base64.RawURLEncoding.EncodeToString
	key := map[string]any{"key_ops": []string{"sign", "verify"}}
	switch k := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		key["kty"], key["n"], key["e"] = "RSA", text(k.N.Bytes()), text(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y
		if err != nil {
			return nil, err
		}
		half := len(point) / 2
		key["kty"], key["crv"], key["x"], key["y"] = "EC", k.Curve.Params().Name, text(point[1:1+half]), text(point[1+half:])
	}
	return key, nil
}
