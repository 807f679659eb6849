"""What the tests of TAP share: a filled service with short limits, and requests as curl would send them."""
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
VOTABLE = "{http://www.ivoa.net/xml/VOTable/v1.3}"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args, **kwargs):
        return None


opener = urllib.request.build_opener(NoRedirect)


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def xml(self):
        return ET.fromstring(self.body)


def ask(url, data=None, method=None, headers=None, timeout=60):
    """One request, redirects not followed, errors as answers. data: dict (form) or bytes."""
    if isinstance(data, dict):
        data = urllib.parse.urlencode(data).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with opener.open(request, timeout=timeout) as response:
            return Answer(response)
    except urllib.error.HTTPError as error:
        return Answer(error)


def sync(base, query, timeout=60, **params):
    return ask(f"{base}/tap/sync", {"LANG": "ADQL", "QUERY": query, **params}, timeout=timeout)


def statuses(answer):
    """(value, text) of each INFO QUERY_STATUS, in order."""
    return [(info.get("value"), (info.text or "").strip()) for info in answer.xml.iter(f"{VOTABLE}INFO") if info.get("name") == "QUERY_STATUS"]


def rows(answer):
    return [[cell.text for cell in row] for row in answer.xml.iter(f"{VOTABLE}TR")]


def multipart(parts, boundary="b0undary"):
    """parts: (name, filename or None, bytes). -> body, content type"""
    out = b""
    for name, filename, data in parts:
        where = f'; filename="{filename}"' if filename else ""
        kind = b"Content-Type: application/x-votable+xml\r\n" if filename else b""
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{where}\r\n'.encode() + kind + b"\r\n" + data + b"\r\n"
    return out + f"--{boundary}--\r\n".encode(), f'multipart/form-data; boundary="{boundary}"'


def votable(fields, table, serialization="TABLEDATA", **options):
    """A VOTable by astropy. fields: (name, datatype, arraysize, unit)."""
    import io
    from astropy.io.votable import tree
    document = tree.VOTableFile(version=options.get("version", "1.3"))
    resource = tree.Resource()
    document.resources.append(resource)
    t = tree.Table(document)
    resource.tables.append(t)
    for name, datatype, arraysize, unit in fields:
        t.fields.append(tree.Field(document, name=name, datatype=datatype, arraysize=arraysize, unit=unit))
    t.create_arrays(len(table))
    for i, row in enumerate(table):
        t.array[i] = row
    out = io.BytesIO()
    document.to_xml(out, tabledata_format=serialization.lower())
    return out.getvalue()
