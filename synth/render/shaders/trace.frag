uniform float id;

out vec2 trace;              // depth in metres, instance id

void main() {
    trace = vec2(1.0 / gl_FragCoord.w, id);
}
