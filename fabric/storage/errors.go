package storage

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// refuse is an error of Azure's. The sentences are those of https://learn.microsoft.com/rest/api/storageservices.
func refuse(status int, code, message string) *azure.Error {
	return &azure.Error{Status: status, Code: code, Message: message}
}

// errHeader says which header is wrong.
func errHeader(name string) error {
	return azure.Errorf(http.StatusBadRequest, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format: %s.", name)
}

// errParameter says which parameter of the query is wrong.
func errParameter(name string) error {
	return azure.Errorf(http.StatusBadRequest, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid: %s.", name)
}

// failXML answers with an error as the blob plane does.
func failXML(w http.ResponseWriter, r *http.Request, id string, e *azure.Error) {
	body := struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code(e), Message: sentence(e, id)}
	text, err := xml.Marshal(body)
	if err != nil {
		text = nil // the status and the code stand in the head
	}
	writeBody(w, r, e.Status, "application/xml", append([]byte(xml.Header), text...), code(e))
}

// failJSON answers with an error as the table plane does.
func failJSON(w http.ResponseWriter, r *http.Request, id string, e *azure.Error) {
	inner, message := newObject(), newObject()
	message.text("lang", "en-US")
	message.text("value", sentence(e, id))
	inner.text("code", code(e))
	inner.raw("message", string(message.end()))
	o := newObject()
	o.raw("odata.error", string(inner.end()))
	writeBody(w, r, e.Status, "application/json;odata=minimalmetadata;streaming=true;charset=utf-8", o.end(), code(e))
}

// code is Azure Storage's word where the control plane's differs.
func code(e *azure.Error) string {
	if e.Code == "InternalServerError" {
		return "InternalError"
	}
	return e.Code
}

func sentence(e *azure.Error, id string) string {
	return fmt.Sprintf("%s\nRequestId:%s\nTime:%s", e.Message, id, time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"))
}

// writeBody answers with a text, or to HEAD with its head.
func writeBody(w http.ResponseWriter, r *http.Request, status int, contentType string, text []byte, code string) {
	h := w.Header()
	if code != "" {
		h.Set("x-ms-error-code", code)
	}
	if status == http.StatusNotModified || status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	if r.Method == http.MethodHead {
		h.Del("Content-Length")
	}
	control := http.NewResponseController(w)
	w.WriteHeader(status)
	for ; r.Method != http.MethodHead && len(text) > 0; text = text[min(len(text), pieceBytes):] {
		_ = control.SetWriteDeadline(time.Now().Add(patience)) // what cannot have deadlines is a test
		if _, err := w.Write(text[:min(len(text), pieceBytes)]); err != nil {
			return // whoever asked has gone
		}
	}
	_ = control.SetWriteDeadline(time.Time{})
}
