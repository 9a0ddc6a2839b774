uniform sampler2D base_texture;
uniform vec3 base_color;
uniform vec3 hsv;            // turn added to the hue, factors of saturation and value
uniform float roughness;
uniform float metallic;

in vec3 position;
in vec3 normal;
in vec2 uv;

out vec4 color;

vec3 varied(vec3 rgb) {
    float value = max(rgb.r, max(rgb.g, rgb.b));
    float chroma = value - min(rgb.r, min(rgb.g, rgb.b));
    float inverse = 1.0 / max(chroma, 1e-6);
    float sextant = rgb.r == value ? (rgb.g - rgb.b) * inverse
                  : rgb.g == value ? (rgb.b - rgb.r) * inverse + 2.0
                                   : (rgb.r - rgb.g) * inverse + 4.0;
    float saturation = min(chroma / max(value, 1e-6) * hsv.y, 1.0);
    vec3 wheel = abs(fract(sextant / 6.0 + hsv.x + vec3(0.0, 2.0, 1.0) / 3.0) * 6.0 - 3.0);
    return min(value * hsv.z, 1.0) * mix(vec3(1.0), clamp(wheel - 1.0, 0.0, 1.0), saturation);
}

void main() {
    vec3 base = base_color;
#ifdef TEXTURED
    base *= decoded(varied(texture(base_texture, uv).rgb));
#endif
    color = vec4(encoded(lit(position, normalize(normal), base, roughness, metallic)), 1.0);
}
