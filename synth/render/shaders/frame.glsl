// What all passes of one image share. World frame, metres, linear RGB.
layout(std140) uniform Frame {
    mat4 shadow_from_world;
    mat4 ray_from_pixel;     // (x, y, 1, 0) of a pixel to its viewing ray, of depth 1
    vec3 eye;
    float ambient;
    vec3 key_direction;      // towards the light
    float wall_distance;     // where the ground ends
    vec3 key_radiance;
    float tile;              // size of the ground's pattern
    vec4 fill_position[FILLS];
    vec4 fill_radiance[FILLS];
};
uniform sampler2DShadow shadow_map;

const float PI = 3.141592653589793;
const float DIELECTRIC = 0.04;

vec3 decoded(vec3 srgb) {
    return mix(srgb / 12.92, pow((srgb + 0.055) / 1.055, vec3(2.4)), step(0.04045, srgb));
}

vec3 encoded(vec3 light) {
    return clamp(pow(light, vec3(1.0 / 2.2)), 0.0, 1.0);
}

// Light that leaves towards v for unit radiance from l: GGX, Smith, Schlick. x3 diffuse, x3 specular.
vec3 reflected(vec3 n, vec3 v, vec3 l, float roughness, vec3 f0, vec3 diffuse) {
    vec3 h = normalize(l + v);
    float nl = clamp(dot(n, l), 0.001, 1.0);
    float nv = clamp(abs(dot(n, v)), 0.001, 1.0);
    float nh = clamp(dot(n, h), 0.0, 1.0);
    float away = 1.0 - clamp(dot(v, h), 0.0, 1.0);
    float away2 = away * away;
    vec3 F = f0 + (1.0 - f0) * (away2 * away2 * away);
    float a2 = roughness * roughness * roughness * roughness;
    float k = (roughness + 1.0) * (roughness + 1.0) / 8.0;
    float G = nv * nl / ((nv * (1.0 - k) + k) * (nl * (1.0 - k) + k));
    float spread = nh * nh * (a2 - 1.0) + 1.0;
    float D = a2 / (PI * spread * spread);
    return nl * ((1.0 - F) * diffuse / PI + F * (G * D / (4.0 * nl * nv + 0.001)));
}

// Share of the key light that arrives: bilinear comparisons at 3 x 3 neighbours, folded into four reads.
float key_arrives(vec3 position, vec3 n) {
#ifdef SHADOW
    vec3 at = (shadow_from_world * vec4(position, 1.0)).xyz;
    float bias = max(0.001 * (1.0 - clamp(dot(n, key_direction), 0.0, 1.0)), 0.0001);
    float depth = min(at.z - bias, 1.0);
    vec2 size = vec2(textureSize(shadow_map, 0));
    vec2 texel = at.xy * size - 0.5;
    vec2 f = fract(texel);
    vec2 first = texel - f + 0.5;
    vec2 low = (first - 1.0 + 1.0 / (2.0 - f)) / size, high = (first + 1.0 + f / (1.0 + f)) / size;
    vec2 weight = (2.0 - f) / 3.0;
    float below = mix(texture(shadow_map, vec3(high.x, low.y, depth)), texture(shadow_map, vec3(low, depth)), weight.x);
    float above = mix(texture(shadow_map, vec3(high, depth)), texture(shadow_map, vec3(low.x, high.y, depth)), weight.x);
    return mix(above, below, weight.y);
#else
    return 1.0;
#endif
}

vec3 lit(vec3 position, vec3 n, vec3 base, float roughness, float metallic) {
    vec3 v = normalize(eye - position);
    vec3 diffuse = base * ((1.0 - DIELECTRIC) * (1.0 - metallic));
    vec3 f0 = mix(vec3(DIELECTRIC), base, metallic);
    vec3 light = base * ambient;
    light += reflected(n, v, key_direction, roughness, f0, diffuse) * key_radiance * key_arrives(position, n);
    for (int i = 0; i < FILLS; i++) {
        vec3 towards = fill_position[i].xyz - position;
        float distance2 = dot(towards, towards);
        vec3 radiance = fill_radiance[i].rgb / distance2;
        light += reflected(n, v, towards * inversesqrt(distance2), roughness, f0, diffuse) * radiance;
    }
    return light;
}
